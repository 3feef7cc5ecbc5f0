"""The model hub is optional: when it does not answer, fail at once instead of after a minute of retries."""

import functools
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit


def prepare(place: str) -> None:
    """Before anything is read from `place`: go offline when it is a hub id and the hub does not answer.

    Offline, Hugging Face's libraries use what is in their cache and fail at once for what is not.
    """
    if not Path(place).is_dir() and not _answers():
        os.environ["HF_HUB_OFFLINE"] = "1"  # for the processes we start, and libraries not imported yet
        import huggingface_hub.constants

        huggingface_hub.constants.HF_HUB_OFFLINE = True


@functools.cache
def _answers(timeout: float = 3.0) -> bool:
    """Whether the hub accepts a connection; assumed when a proxy stands between."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    url = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
        socket.create_connection((url.hostname or "", port), timeout=timeout).close()
    except OSError:
        return False
    return True
