"""Conditions and formulas against the same text read by Python itself."""

import random

import pytest

from mist_dse.explore.errors import SpaceError
from mist_dse.explore.spaces.expressions import compared, expression

PATHS = ("pools.a.tp", "pools.a-b.tp", "pools.a.tp2", "placement", "services.x.wait")
VALUES = {"pools.a.tp": 3, "pools.a-b.tp": 4, "pools.a.tp2": 5, "placement": "colocated", "services.x.wait": "2 ms"}


def test_random_arithmetic_is_pythons() -> None:
    draw = random.Random(0)
    names = [name for name in PATHS if name.startswith("pools")]

    def text(depth: int) -> str:
        if depth == 0:
            return draw.choice([*names, str(draw.randint(1, 9))])
        if draw.random() < 0.2:
            return f"{draw.choice(('min', 'max'))}({text(depth - 1)}, {text(depth - 1)})"
        return f"({text(depth - 1)} {draw.choice(['+', '-', '*', '//', '%', '/'])} {text(depth - 1)})"

    for _ in range(300):
        written = f"{text(draw.randint(0, 3))} + pools.a.tp"
        plain = written
        for name in sorted(names, key=len, reverse=True):
            plain = plain.replace(name, str(VALUES[name]))
        try:
            expected = eval(plain)
        except ZeroDivisionError:
            with pytest.raises(ArithmeticError):
                expression(written, PATHS, "here").value(VALUES)
            continue
        assert expression(written, PATHS, "here").value(VALUES) == expected, written


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("placement == colocated", True),
        ("placement != colocated", False),
        ("placement in [disaggregated, colocated] and pools.a.tp == 3", True),
        ("not (placement in [disaggregated]) or pools.a.tp > 100", True),
        ("1 < pools.a.tp <= 3", True),
        ("1 < pools.a.tp < 3", False),
        ("pools.a-b.tp - pools.a.tp == 1", True),
        ("services.x.wait == '2 ms'", True),
        ("placement > 3", False),
        ("pools.a.tp2 not in (1, 2)", True),
        ("pools.a.tp % 2", True),
        ("pools.a.tp > 1 and true and not false", True),
    ],
)
def test_conditions(text: str, holds: bool) -> None:
    assert expression(text, PATHS, "here").holds(VALUES) is holds


def test_a_comparison_with_what_has_no_meaning_is_false() -> None:
    for text in ("pools.a.tp == 3", "pools.a.tp != 3", "pools.a.tp < 3", "pools.a.tp in [3]", "pools.a.tp == none", "pools.a.tp + 1 > 0"):
        assert not expression(text, PATHS, "here").holds({})


def test_names_and_words_compared_are_known() -> None:
    found = expression("placement in [colocated, x] and pools.a.tp == 2", PATHS, "here")
    assert found.names == ("placement", "pools.a.tp")
    assert compared(found) == [("placement", "colocated"), ("placement", "x"), ("pools.a.tp", 2)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 +",
        "x = 1",
        "lambda: 1",
        "[y for y in z]",
        "a if b else c",
        "open('f')",
        "min()",
        "2 ** 9",
        "placement.x",
        "x y",
        "f'{1}'",
        "`1`",
    ],
)
def test_nothing_else_is_read(text: str) -> None:
    with pytest.raises(SpaceError, match="here: "):
        expression(text, PATHS, "here")
