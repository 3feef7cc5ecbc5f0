"""The path of one model: data -> tokens -> model -> training -> evaluation -> registration.

Nothing here knows of studies: `hpo` builds on `pipelines`, never the other way round.
"""

import os

# The libraries below us would report their use over the network; who runs a study did not ask for that.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# Where weights are pickled alone, transformers would ask a service to convert them, and load what that offers.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
