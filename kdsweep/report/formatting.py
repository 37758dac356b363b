"""Figures as text: accuracies in percent, differences in points; an empty text for none."""

from collections.abc import Iterable, Sequence

from kdsweep.report.analysis.statistics import Comparison, Interval, Summary

MOST_VALUES = 6  # that are listed one by one


def percent(fraction: float | None) -> str:
    """`86.33`."""
    return "" if fraction is None else f"{100 * fraction:.2f}"


def points(fraction: float | None) -> str:
    """A difference with its sign: `+1.20`."""
    return "" if fraction is None else f"{100 * fraction:+.2f}"


def mean(summary: Summary | None) -> str:
    """Of accuracies: `86.33`."""
    return "" if summary is None else percent(summary.mean)


def sd(summary: Summary | None) -> str:
    """The sample's standard deviation: `0.28`."""
    return "" if summary is None else percent(summary.sd)


def mean_and_sd(summary: Summary | None, separator: str) -> str:
    """`86.33 ± 0.28`; the mean alone with one seed."""
    return separator.join(filter(None, [mean(summary), sd(summary)]))


def interval(ends: Interval | None, form: str = ".2f", scale: float = 100) -> str:
    """`[86.01, 86.65]`."""
    return "" if ends is None else f"[{scale * ends[0]:{form}}, {scale * ends[1]:{form}}]"


def mean_and_interval(summary: Summary | None) -> str:
    """`86.33 %`, with the 95 % interval where there is one: `86.33 [86.01, 86.65] %`."""
    if summary is None:
        return ""
    return " ".join(filter(None, [mean(summary), interval(summary.t_interval), "%"]))


def difference(comparison: Comparison | None, form: str = "+.2f", scale: float = 100) -> str:
    """A mean difference with its 95 % interval: `+1.20 [+0.40, +2.00]`."""
    if comparison is None or comparison.difference is None:
        return ""
    mean = format(scale * comparison.difference, form)
    return f"{mean} {interval(comparison.interval, form, scale)}".rstrip()


def p_value(p: float | None, smallest: float = 1e-4) -> str:
    """`0.0259`, or `< 0.0001`: a smaller one depends on assumptions that nobody can check."""
    if p is None:
        return ""
    return f"{p:.3g}" if p >= smallest else f"< {smallest:.4f}"


def p_equals(p: float | None) -> str:
    """`= 0.0259`, or `< 0.0001`."""
    text = p_value(p)
    return f"= {text}" if text and not text.startswith("<") else text


def first_of(names: Sequence[str], most: int = 5) -> str:
    """`a, b, c, d, e and 3 more`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def listed(values: Iterable[float]) -> str:
    """`1, 4 and 16`; only the ends of many."""
    texts = [f"{value:g}" for value in values]
    if len(texts) > MOST_VALUES:
        return f"{texts[0]} to {texts[-1]} ({len(texts)} values)"
    return " and ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))
