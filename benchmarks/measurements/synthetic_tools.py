"""`synthetic_tools`: any number of distinct lookup tools for measurements."""

from itertools import product
from typing import Any

_ATTRIBUTES = (
    "price,weight,colour,owner,author,opening hours,address,size,age,capacity,speed,language,licence,rating,origin,"
    "warranty,height,inventor,name,nickname"
)
_THINGS = (
    "book,car,museum,bakery,laptop,bridge,ship,theatre,mountain,camera,novel,library,airline,guitar,festival,vineyard,"
    "telescope,stadium,hospital,bicycle,kettle,painting,castle,printer,satellite,orchard,violin,ferry,tunnel,drone,"
    "market,garden,river,school,balloon,clock,tower,statue,recipe,vaccine,lamp,sofa,piano,tent,canoe,tractor,glacier,"
    "windmill,submarine,comet,island,factory,planet,lighthouse,parrot"
)
ATTRIBUTES, THINGS = _ATTRIBUTES.split(","), _THINGS.split(",")


def synthetic_tools(count: int) -> list[dict[str, Any]]:
    """Return tools that each look up one attribute of one kind of thing.

    Raises
    ------
    ValueError
        If `count` exceeds the number of combinations.
    """
    pairs = list(product(THINGS, ATTRIBUTES))
    if count > len(pairs):
        raise ValueError(f"{count} tools are more than the {len(pairs)} combinations: ask for fewer.")
    return [
        {
            "name": f"{thing}_{attribute}".replace(" ", "_"),
            "description": f"Look up the {attribute} of a {thing}.",
            "parameters": {
                "type": "object",
                "properties": {"name": {"type": "string", "description": f"The {thing}.", "x-grounded": True}},
                "required": ["name"],
            },
        }
        for thing, attribute in pairs[:count]
    ]
