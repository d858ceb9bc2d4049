import re

from tests.laws.index import PAGE, page

NEEDED = {*range(1, 9), 10, 13, 14, 16, 17}


def test_the_page_of_laws_is_what_the_tests_say() -> None:
    assert PAGE.read_text() == page(), "run `python -m tests.laws.index`"


def test_no_law_lacks_a_test() -> None:
    assert {int(number) for number in re.findall(r"^\| (\d+) \|", page(), re.MULTILINE)} >= NEEDED
