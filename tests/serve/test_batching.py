"""Requests that come together are answered together, soon, and not more of them than can be."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pipelines.serve.batching import Batcher
from pipelines.serve.limits import Limits
from pipelines.serve.refusal import Refusal
from tests.serving import MadeUp, a_model


class Gate:
    """A made-up model that computes one batch each time it is let."""

    def __init__(self) -> None:
        self.runtime = MadeUp()
        self.model = a_model(runtime=self.runtime)
        self._turns = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.runtime.hold = self._wait

    def _wait(self, texts: Any) -> None:
        self.begun.release()
        assert self._turns.acquire(timeout=10)

    def let(self, times: int = 1) -> None:
        self._turns.release(times)

    @property
    def batches(self) -> list[list[str]]:
        return self.runtime.asked


def run(story: Callable[[Batcher], Coroutine[Any, Any, None]], **limits: Any) -> None:
    batcher = Batcher(Limits(**limits))
    try:
        asyncio.run(story(batcher))
        assert batcher.waiting == 0
    finally:
        batcher.close()


async def begun(gate: Gate) -> None:
    await asyncio.to_thread(gate.begun.acquire)


def test_who_comes_alone_is_answered_at_once() -> None:
    async def story(batcher: Batcher) -> None:
        model = a_model()
        loop = asyncio.get_running_loop()
        start = loop.time()
        for _ in range(3):
            assert (await batcher.ask(model, ["good"]))[0].label == "good"
        assert loop.time() - start < 5.0

    run(story, gather=10.0)


def test_who_comes_meanwhile_shares_the_next_batch_and_gets_the_own_answers() -> None:
    async def story(batcher: Batcher) -> None:
        gate = Gate()
        first = asyncio.create_task(batcher.ask(gate.model, ["first"]))
        await begun(gate)
        others = [asyncio.create_task(batcher.ask(gate.model, ["good"] * number + ["dull"])) for number in range(1, 4)]
        await asyncio.sleep(0)
        assert batcher.waiting == 2 + 3 + 4
        gate.let(2)
        await first
        for number, other in enumerate(others, start=1):
            assert [one.probabilities["good"] for one in await other] == [0.75] * number + [0.5]
        assert [len(texts) for texts in gate.batches] == [1, 9]

    run(story)


def test_a_batch_has_a_largest_size_and_no_request_is_torn() -> None:
    async def story(batcher: Batcher) -> None:
        gate = Gate()
        gate.let(9)
        sizes = [1, 3, 3, 3, 9, 1, 1]
        asked = [asyncio.create_task(batcher.ask(gate.model, ["good"] * size)) for size in sizes]
        assert [len(answers) for answers in await asyncio.gather(*asked)] == sizes
        assert [len(texts) for texts in gate.batches] == [1, 6, 3, 9, 2]

    run(story, batch=6, gather=0.0)


def test_where_requests_come_together_the_next_batch_waits_a_moment_for_company() -> None:
    async def story(batcher: Batcher) -> None:
        gate = Gate()
        gate.let(9)
        await asyncio.gather(*(batcher.ask(gate.model, ["a"]) for _ in range(3)))  # batches of 1 and 2
        late = asyncio.create_task(batcher.ask(gate.model, ["late"]))
        await asyncio.sleep(0.05)
        assert [len(texts) for texts in gate.batches] == [1, 2], "it waits"
        later = asyncio.create_task(batcher.ask(gate.model, ["later"]))
        await asyncio.gather(late, later)
        assert gate.batches[2:] == [["late", "later"]]

    run(story, gather=0.2)


def test_a_full_batch_does_not_wait_for_company() -> None:
    async def story(batcher: Batcher) -> None:
        gate = Gate()
        gate.let(9)
        await asyncio.gather(*(batcher.ask(gate.model, ["a"]) for _ in range(3)))
        await asyncio.wait_for(asyncio.gather(*(batcher.ask(gate.model, ["b"] * 2) for _ in range(2))), 5.0)
        assert gate.batches[2:] == [["b"] * 4]

    run(story, batch=4, gather=60.0)


def test_too_many_texts_are_refused_at_once_and_the_others_answered() -> None:
    async def story(batcher: Batcher) -> None:
        gate = Gate()
        first = asyncio.create_task(batcher.ask(gate.model, ["first"]))
        await begun(gate)
        waiting = [asyncio.create_task(batcher.ask(gate.model, ["a"] * 2)) for _ in range(2)]
        await asyncio.sleep(0)
        assert batcher.full
        for texts in (["b"], ["b"] * 32):
            with pytest.raises(Refusal) as caught:
                await batcher.ask(gate.model, texts)
            assert (caught.value.status_code, caught.value.code) == (503, "busy")
            assert caught.value.headers == {"Retry-After": "1"}
        gate.let(9)
        assert [len(one) for one in await asyncio.gather(first, *waiting)] == [1, 2, 2]
        assert not batcher.full

    run(story, waiting=4)


def test_a_large_request_is_taken_where_nobody_waits() -> None:
    async def story(batcher: Batcher) -> None:
        assert len(await batcher.ask(a_model(), ["good"] * 32)) == 32

    run(story, waiting=4)


def test_each_request_is_answered_by_the_model_that_it_asked() -> None:
    async def story(batcher: Batcher) -> None:
        one, two = Gate(), Gate()
        asked = [asyncio.create_task(batcher.ask(gate.model, ["a"])) for gate in (one, one, two, one, one)]
        one.let(9)
        two.let(9)
        await asyncio.gather(*asked)
        assert ([len(texts) for texts in one.batches], len(two.batches)) == ([1, 1, 2], 1)

    run(story, gather=0.0)


def test_a_text_that_the_model_cannot_take_harms_nobody_else_in_its_batch() -> None:
    async def story(batcher: Batcher) -> None:
        gate = Gate()
        gate.let(9)
        first = asyncio.create_task(batcher.ask(gate.model, ["first"]))
        await begun(gate)
        texts = ["good", "poison", "dull", "NaN"]
        asked = [asyncio.create_task(batcher.ask(gate.model, [text])) for text in texts]
        found = await asyncio.gather(first, *asked, return_exceptions=True)
        assert [type(one) for one in found] == [list, list, RuntimeError, list, Refusal]

    run(story)


def test_who_does_not_wait_any_more_is_not_computed() -> None:
    async def story(batcher: Batcher) -> None:
        gate = Gate()
        first = asyncio.create_task(batcher.ask(gate.model, ["first"]))
        await begun(gate)
        gone = asyncio.create_task(batcher.ask(gate.model, ["gone"]))
        stays = asyncio.create_task(batcher.ask(gate.model, ["stays"]))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        assert batcher.waiting == 1, "its place is free at once"
        gate.let(9)
        await asyncio.gather(first, stays)
        assert gate.batches == [["first"], ["stays"]]

    run(story)


def test_the_event_loop_is_free_while_the_model_computes() -> None:
    async def story(batcher: Batcher) -> None:
        gate = Gate()
        asked = asyncio.create_task(batcher.ask(gate.model, ["a"]))
        await begun(gate)
        await asyncio.wait_for(asyncio.sleep(0.01), 1.0)
        assert not asked.done()
        gate.let()
        await asked

    run(story)
