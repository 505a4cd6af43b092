"""A threaded map that stays a few items ahead of its consumer."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int | None = None,
    cost: Callable[[Item], int] | None = None,
    most: int = 0,
) -> Generator[Result, None, None]:
    """`map` in threads, in order; unlike an executor's own map it never holds more than a few results.

    Worth it where `function` spends its time in NumPy, Pillow or files, which let other threads run.

    Args:
        function: of one item.
        items: read by the consumer's thread.
        workers: threads; None is one a core.
        cost: what an item takes while `function` runs, as bytes of memory; None is nothing.
        most: items that are worked on at once cost no more than this together, but one is worked on whatever it costs.

    Yields:
        Results in the items' order. Closing the generator cancels what has not begun and waits for what has.
    """
    workers = workers or os.cpu_count() or 1
    waiting: deque[tuple[Future[Result], int]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                price = cost(item) if cost else 0
                while len(waiting) > 2 * workers or (waiting and _unfinished_cost(waiting) + price > most):
                    yield waiting.popleft()[0].result()
                waiting.append((pool.submit(function, item), price))
            while waiting:
                yield waiting.popleft()[0].result()
        finally:
            for future, _ in waiting:
                future.cancel()


def _unfinished_cost(waiting: deque[tuple[Future[Result], int]]) -> int:
    return sum(price for future, price in waiting if not future.done())
