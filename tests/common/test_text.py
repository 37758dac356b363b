from kdsweep.common.text import clock_time


def test_clock_time() -> None:
    assert clock_time(3723.4) == "1:02:03"
    assert clock_time(90_000) == "1 day, 1:00:00"
