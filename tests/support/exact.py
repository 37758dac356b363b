"""Losses on logits in decimal arithmetic of 60 digits, the reference for floating point.

Written from the formulas, without regard to rounding. Logits are rows of numbers.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from functools import lru_cache

Number = Decimal
Row = tuple[Decimal, ...]
Rows = list[Row]
Loss = Callable[[Rows, Rows], Decimal]

DIGITS, STEP = 60, Decimal("1e-25")  # a step so small that one difference is exact enough


@lru_cache(maxsize=256)  # the teacher's rows are the same for every derivative
def softmax(row: Row, T: Decimal) -> Row:
    largest = max(row)
    powers = [((z - largest) / T).exp() for z in row]
    total = sum(powers)
    return tuple(power / total for power in powers)


@lru_cache(maxsize=256)
def log_softmax(row: Row, T: Decimal) -> Row:
    largest = max(row)
    log_total = sum(((z - largest) / T).exp() for z in row).ln()  # type: ignore[union-attr]
    return tuple((z - largest) / T - log_total for z in row)


def mean(values: Sequence[Decimal]) -> Decimal:
    return sum(values, Decimal(0)) / len(values)


def dot(first: Row, second: Row) -> Decimal:
    return sum((a * b for a, b in zip(first, second, strict=True)), Decimal(0))


def columns(rows: Rows) -> Rows:
    return list(zip(*rows, strict=True))


def divergence(student: Row, teacher: Row, T: Decimal) -> Decimal:
    logs = zip(log_softmax(teacher, T), log_softmax(student, T), strict=True)
    return dot(softmax(teacher, T), tuple(p - q for p, q in logs))


def kl(T: Decimal) -> Loss:
    return lambda s, t: T**2 * mean([divergence(*pair, T) for pair in zip(s, t, strict=True)])


def soft_ce(T: Decimal) -> Loss:
    def loss(s: Rows, t: Rows) -> Decimal:
        pairs = zip(s, t, strict=True)
        return -(T**2) * mean([dot(softmax(b, T), log_softmax(a, T)) for a, b in pairs])

    return loss


def mse(s: Rows, t: Rows) -> Decimal:
    pairs = zip(s, t, strict=True)
    return mean([(a - b) ** 2 for one, other in pairs for a, b in zip(one, other, strict=True)])


def mse_probs(T: Decimal) -> Loss:
    return lambda s, t: (
        T**2 / 2 * mse([softmax(row, T) for row in s], [softmax(row, T) for row in t])
    )


def dkd(T: Decimal, alpha: int, beta: int, labels: list[int]) -> Loss:
    def two(row: Row, label: int) -> Row:
        p = softmax(row, T)
        return p[label].ln(), sum(p[:label] + p[label + 1 :]).ln()  # type: ignore[union-attr]

    def loss(s: Rows, t: Rows) -> Decimal:
        total = []
        for a, b, y in zip(s, t, labels, strict=True):
            rest = divergence(a[:y] + a[y + 1 :], b[:y] + b[y + 1 :], T)
            total.append(alpha * divergence(two(a, y), two(b, y), Decimal(1)) + beta * rest)
        return T**2 * mean(total)

    return loss


def nkd(T: Decimal, gamma: Decimal, labels: list[int]) -> Loss:
    def loss(s: Rows, t: Rows) -> Decimal:
        one, total = Decimal(1), []
        for a, b, y in zip(s, t, labels, strict=True):
            target = softmax(b, one)[y] * log_softmax(a, one)[y]
            rest = dot(softmax(b[:y] + b[y + 1 :], T), log_softmax(a[:y] + a[y + 1 :], T))
            total.append(-target - gamma * T**2 * rest)
        return mean(total)

    return loss


def wttm(T: Decimal) -> Loss:
    def loss(s: Rows, t: Rows) -> Decimal:
        one, total = Decimal(1), []
        for a, b in zip(s, t, strict=True):
            weight = sum((log_p / T).exp() for log_p in log_softmax(b, one))
            total.append(weight * divergence(a, tuple(z / T for z in b), one))
        return mean(total)

    return loss


def tfkd(T: Decimal, labels: list[int]) -> Loss:
    def loss(s: Rows, _: Rows) -> Decimal:
        one, sure, total = Decimal(1), Decimal("0.99"), []
        for row, y in zip(s, labels, strict=True):
            designed = [(one - sure) / (len(row) - 1)] * len(row)
            designed[y] = sure
            total.append(divergence(row, tuple(p / T for p in designed), one))
        return mean(total)

    return loss


def centred(row: Row) -> Row:
    average = mean(row)
    return tuple(z - average for z in row)


def pearson(one: Row, other: Row) -> Decimal:
    a, b = centred(one), centred(other)
    return dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt() + Decimal("1e-8"))


def dist(T: Decimal) -> Loss:
    def loss(s: Rows, t: Rows) -> Decimal:
        q, p = [softmax(row, T) for row in s], [softmax(row, T) for row in t]
        inter = mean([pearson(*pair) for pair in zip(q, p, strict=True)])
        intra = mean([pearson(*pair) for pair in zip(columns(q), columns(p), strict=True)])
        return T**2 * (2 - inter - intra)

    return loss


def mlkd(T: Decimal, factors: list[Decimal], *, standardize: bool = False) -> Loss:
    """``standardize``: the logits of the instance level."""

    def gram_error(one: Rows, other: Rows) -> Decimal:
        pairs = [(i, j) for i in range(len(one)) for j in range(len(one))]
        squares = [(dot(one[i], one[j]) - dot(other[i], other[j])) ** 2 for i, j in pairs]
        return sum(squares, Decimal(0)) / len(one)

    def level(s: Rows, t: Rows, T: Decimal) -> Decimal:
        q, p = [softmax(row, T) for row in s], [softmax(row, T) for row in t]
        images, classes = (Decimal((n + 1) // 2) / n for n in (len(q), len(q[0])))
        instance = on_standardized(kl(T)) if standardize else kl(T)
        relations = images * gram_error(q, p) + classes * gram_error(columns(q), columns(p))
        return (1 + images) * instance(s, t) + relations

    return lambda s, t: sum((level(s, t, T * factor) for factor in factors), Decimal(0))


def ce(labels: list[int]) -> Loss:
    def loss(s: Rows, t: Rows) -> Decimal:
        pairs = zip(s, labels, strict=True)
        return -mean([log_softmax(row, Decimal(1))[label] for row, label in pairs])

    return loss


def standardized(rows: Rows) -> Rows:
    result = []
    for row in map(centred, rows):
        deviation = (dot(row, row) / (len(row) - 1)).sqrt() + Decimal("1e-7")
        result.append(tuple(z / deviation for z in row))
    return result


def on_standardized(loss: Loss) -> Loss:
    return lambda s, t: loss(standardized(s), standardized(t))


def value_and_slopes(
    loss: Loss, s: list[list[float]], t: list[list[float]], directions: list[list[list[float]]]
) -> tuple[float, list[float]]:
    """The loss, and its derivatives in ``directions`` of the student's logits, as floats."""
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = DIGITS, -(10**17), 10**17
        student, teacher = ([tuple(map(Decimal, row)) for row in rows] for rows in (s, t))

        def moved(direction: list[list[float]]) -> Rows:
            return [
                tuple(z + STEP * Decimal(v) for z, v in zip(*rows, strict=True))
                for rows in zip(student, direction, strict=True)
            ]

        value = loss(student, teacher)
        slopes = [(loss(moved(d), teacher) - value) / STEP for d in directions]
        return float(value), [float(slope) for slope in slopes]
