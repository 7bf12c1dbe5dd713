"""Tools whose names are ids appear in prompts under the names in their descriptions."""

from langchain_core.tools import StructuredTool

from toolken import Call, Example, ToolSpec
from toolken.benchmarks.end_to_end.tool_labels import Readable
from toolken.benchmarks.end_to_end.traces import Attempt, TracePiece
from toolken.benchmarks.end_to_end.trials import Question

SPECS = [
    ToolSpec(name="P36", description="capital_of(country): gets the capital of a country"),
    ToolSpec(name="P17", description="location(place): gets the country of a place"),
    ToolSpec(name="P276", description="location(): gets where an event was"),
    ToolSpec(name="weather", description="Tells the weather."),
    ToolSpec(name="P1", description="weather(city): tells another weather"),
]


def test_names_are_those_of_the_descriptions() -> None:
    readable = Readable.of(SPECS, "subject")
    assert readable.names == {
        "P36": "capital_of",
        "P17": "location",
        "P276": "location_2",
        "weather": "weather",
        "P1": "weather_2",
    }
    assert readable.operands == {
        "capital_of": "country",
        "location": "place",
        "location_2": "subject",
        "weather": "subject",
        "weather_2": "city",
    }
    assert [spec.description for spec in readable.specs][:3] == [
        "gets the capital of a country",
        "gets the country of a place",
        "gets where an event was",
    ]


def test_examples_and_tools_are_renamed_and_attempts_have_the_old_names() -> None:
    readable = Readable.of(SPECS, "subject")
    example = readable.example(Example(question="Where is Oslo?", calls=(Call(tool="P17", result="Norway"),)))
    assert example.calls[0].tool == "location"
    tool = StructuredTool.from_function(lambda place: "Norway", name="P17", description="Gets a country.")
    assert [one.name for one in readable.tools([tool])] == ["location"]
    assert tool.name == "P17"
    written = Attempt(
        pieces=(TracePiece(text="In "), TracePiece(tool="location", result="Norway"), TracePiece(tool="made_up"))
    )
    (attempt,) = readable.answerer(lambda questions: [written for _ in questions])([Question(0, "Where?", "", None)])
    assert [one.tool for one in attempt.pieces] == [None, "P17", "made_up"]
