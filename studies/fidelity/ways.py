"""The ways that are compared: every layer with and without the next, and constants from elsewhere."""

from layers import Way, everywhere, exchanged, neutral, pooled

OPERATORS = {"light": "speed of light", "class": "class defaults", "coefficients": "coefficients", "tables": "tables"}
PROFILE, LOAD = " + engine profile", " + load generator"
FULL = f"coefficients{PROFILE}{LOAD}"

CHAIN = ("speed of light", "class defaults", "coefficients", f"coefficients{PROFILE}", FULL)
"""One layer after the other."""

WITHOUT = {
    "operators: the datasheet's peaks": f"speed of light{PROFILE}{LOAD}",
    "operators: class defaults": f"class defaults{PROFILE}{LOAD}",
    "engine profile": f"coefficients{LOAD}",
    "load generator": f"coefficients{PROFILE}",
}
"""What is left out of the full model, and the way that does without it."""


def ablation() -> list[Way]:
    """Each operator layer alone, with engine profiles, and with the benchmark's load generator too; the load generator alone."""
    found = [Way(f"coefficients{LOAD}", profiles=neutral())]
    for operators, name in OPERATORS.items():
        found += [Way(name, operators, neutral(), plain=True), Way(name + PROFILE, operators, plain=True)]
        found.append(Way(name + PROFILE + LOAD, operators))
    return found


def moves() -> list[Way]:
    """Constants from elsewhere: of all engines, or with an accelerator left out."""
    return [
        Way("own"),
        Way("generic: one profile for all engines", profiles=everywhere("generic")),
        Way("other generation's profile, own coefficients", profiles=exchanged()),
        Way("left out: class defaults, the engine's pooled profile", "class", pooled()),
        Way("left out: class defaults, the other generation's profile", "class", exchanged()),
    ]
