import threading
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from nbjax.threads import map_ahead


@settings(max_examples=30)
@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 8), st.integers(0, 20))
def test_results_are_in_order_and_the_costs_at_once_are_bounded(costs, workers, most):
    lock, running, seen = threading.Lock(), [], []

    def work(cost):
        with lock:
            running.append(cost)
            seen.append((sum(running), len(running)))
        time.sleep(0.0002)
        with lock:
            running.remove(cost)
        return cost

    assert list(map_ahead(work, costs, workers, cost=int, most=most)) == costs
    assert all(total <= most or number == 1 or total == 0 for total, number in seen)
    assert all(number <= workers for _, number in seen)
