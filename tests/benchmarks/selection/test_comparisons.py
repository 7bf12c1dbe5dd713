"""The comparisons of a data set follow from its files, and the split names the evaluated questions."""

import pytest

from toolken import Call, Example, ToolSpec
from toolken.benchmarks.selection.comparisons import comparisons
from toolken.benchmarks.sets.dataset import Dataset, Evaluation
from toolken.errors import DataFormatError

SPECS = [ToolSpec(name="add", description="Add numbers."), ToolSpec(name="log", description="Take a logarithm.")]


def dataset(name: str, *tests: str) -> Dataset:
    """Return a data set with the same question in each of these tests."""
    asked = Example(question="What is 1 and 2?", answer="It is 3.", calls=(Call(tool="add", result="3", start=6),))
    evaluation = Evaluation(SPECS, [asked])
    return Dataset(name, SPECS, {"supervised": [asked]}, dict.fromkeys(tests, evaluation))


@pytest.mark.parametrize(
    ("name", "tests", "splits"),
    [
        ("gsm8k-xl", ["dev", "test"], ["dev"]),
        ("gsm8k-xl", ["test"], ["supervised"]),
        ("virtualhome", ["dev", "test"], ["dev"]),
        ("virtualhome", ["test"], ["supervised"]),
        ("funcqa", ["one-hop", "multi-hop", "dev"], ["supervised", "dev"]),
        ("funcqa", ["multi-hop"], ["supervised"]),
        ("funcqa", ["test"], ["supervised"]),
        ("funcqa", ["dev"], ["dev"]),
        ("stq", ["dev"], ["supervised"]),
        ("metatool", ["test", "multi-tool"], ["supervised"]),
    ],
)
def test_a_comparison_is_called_dev_where_the_dev_file_is_evaluated(
    name: str, tests: list[str], splits: list[str]
) -> None:
    assert [one.split for one in comparisons(dataset(name, *tests))] == splits


@pytest.mark.parametrize(
    ("sizes", "compared"),
    [(["10", "20", "30", "234"], 2), (["10", "30"], 1), (["5", "10", "20"], 3), (["5"], 1)],
)
def test_all_sizes_are_compared_where_the_usual_ones_are_missing(sizes: list[str], compared: int) -> None:
    assert len(list(comparisons(dataset("kamel", *sizes)))) == compared


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(DataFormatError, match=r"^kamel has no test: give the folder"):
        list(comparisons(dataset("kamel")))
    with pytest.raises(DataFormatError, match=r"^There is no default comparison on 'squad': name one of kamel, "):
        list(comparisons(dataset("squad", "test")))
