import subprocess
import sys

import pytest

import nassuite


def test_the_function_search_is_not_hidden_by_the_package_of_that_name():
    code = (
        "import nassuite, types\n"
        "for name in nassuite.__all__: getattr(nassuite, name)\n"
        "first, second = nassuite.search, nassuite.search\n"
        "from nassuite import search\n"
        "assert isinstance(first, types.FunctionType) and first is second is search\n"
        "from nassuite.search.pareto import hypervolume\n"
        "assert nassuite.search is first\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", [name for name in nassuite.__all__ if name != "search"])
def test_public_names_are_those_of_their_modules(name):
    assert getattr(nassuite, name).__module__ == nassuite._PUBLIC[name].partition(":")[0]


def test_what_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        nassuite.nothing  # noqa: B018
