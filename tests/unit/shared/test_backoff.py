"""How long is waited before the next attempt."""

from __future__ import annotations

from shared.backoff import Backoff


def test_delays_double_up_to_the_longest() -> None:
    """Also after a broker was away for days: the power must not outgrow a float."""
    backoff = Backoff(0.1, 5.0, lambda: 1.0)
    delays = [backoff.delay_s(failures) for failures in (1, 2, 3, 10, 10_000)]
    assert delays == [0.1, 0.2, 0.4, 5.0, 5.0]


def test_at_least_half_of_a_delay_is_waited() -> None:
    """The other half is drawn, so that those that failed together do not return together."""
    assert Backoff(1.0, 5.0, lambda: 0.0).delay_s(1) == 0.5
