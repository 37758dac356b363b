import threading

from kdsweep.common.repeating import repeating


def test_the_calls_end_with_the_block() -> None:
    calls: list[int] = []
    third = threading.Event()

    def count() -> None:
        calls.append(1)
        if len(calls) == 3:
            third.set()

    with repeating("counting", count, 0.001):
        assert third.wait(60)
    made = len(calls)
    assert made >= 3
    assert "counting" not in [thread.name for thread in threading.enumerate()]
    assert len(calls) == made
