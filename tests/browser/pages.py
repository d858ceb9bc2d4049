"""What tests ask of a page in the browser: its texts, a column of its table, a point under the pointer, where that lies."""

import time
from collections.abc import Callable
from typing import Any

Opened = Callable[..., Any]
"""Opens the report of a synthetic run, its keyword arguments as of `write_run`; the driver."""


def texts(page: Any, selector: str) -> list[str]:
    return page.execute_script("return Array.from(document.querySelectorAll(arguments[0]), node => node.textContent)", selector)


def column(page: Any, number: int) -> list[str]:
    return texts(page, f"#table tbody td:nth-child({number})")


def centre(page: Any, kind: str, point: int) -> tuple[float, float]:
    """Where a point lies in the window."""
    place = page.execute_script(
        """const plot = document.getElementById("front"), trace = plot.data.find((trace) => trace.meta === arguments[0]);
        plot.scrollIntoView();
        const {xaxis: x, yaxis: y} = plot._fullLayout, box = plot.getBoundingClientRect(), at = arguments[1];
        return [box.left + x._offset + x.d2p(trace.x[at]), box.top + y._offset + y.d2p(trace.y[at])];""",
        kind,
        point,
    )
    return place[0], place[1]


def actions_at(page: Any, x: float, y: float) -> Any:
    """Actions that begin with the pointer at a place in the window."""
    from selenium.webdriver.common.action_chains import ActionChains

    actions = ActionChains(page)
    actions.w3c_actions.pointer_action.move_to_location(round(x), round(y))
    return actions


def hover(page: Any, kind: str, point: int) -> str:
    """What is shown of a point under the pointer."""
    actions_at(page, *centre(page, kind, point)).perform()
    time.sleep(0.15)
    hint: str = page.execute_script("const hint = document.getElementById('hint'); return hint.hidden ? '' : hint.innerText")
    return hint
