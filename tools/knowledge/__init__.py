"""Knowledge as tools: facts in any SQL database, or an existing database with its own schema.

Each relation of a `KnowledgeBase` is a tool with one argument, the subject; its text lists the objects, its artifact
is the list of rows. If nothing is found, the text suggests near matches; `KnowledgeBase.lookup` raises instead.
`ReflectedSchema` makes tools of an existing database, and `world_knowledge` is a knowledge base of about 1,000 facts.
`atlas_relations` and `atlas_facts` make a fictional one with more than 200 relations.

Examples
--------
>>> from toolken.tools.knowledge import KnowledgeBase, Relation, Triple, world_knowledge
>>> capital_of = world_knowledge().tools()[0]
>>> capital_of.invoke({"subject": "the czech republic"})
'Prague'
>>> kb = KnowledgeBase("sqlite://")
>>> plays = Relation("plays", "Find which instruments a musician plays.", subject="the musician")
>>> kb.load([Triple("Zoë", "plays", "cello", subject_aliases=("Zed",)), ("Zoë", "plays", "horn")], [plays])
2
>>> kb.tools()[0].invoke({"subject": "zoe"})
'cello, horn'
>>> kb.tools()[0].invoke({"subject": "Zoey"})
'Nothing is stored under "Zoey" for plays; did you mean "Zoë"?'
"""

from toolken.tools.knowledge.atlas import atlas_facts, atlas_questions, atlas_relations
from toolken.tools.knowledge.errors import KnowledgeError, NothingFoundError
from toolken.tools.knowledge.examples import examples
from toolken.tools.knowledge.facts import Relation, Triple, read_csv, read_jsonl, read_kamel, read_relations
from toolken.tools.knowledge.knowledge_base import FactRow, KnowledgeBase
from toolken.tools.knowledge.reflection import ReflectedSchema
from toolken.tools.knowledge.world import world_facts, world_knowledge, world_relations

__all__ = [
    "FactRow",
    "KnowledgeBase",
    "KnowledgeError",
    "NothingFoundError",
    "ReflectedSchema",
    "Relation",
    "Triple",
    "atlas_facts",
    "atlas_questions",
    "atlas_relations",
    "examples",
    "read_csv",
    "read_jsonl",
    "read_kamel",
    "read_relations",
    "world_facts",
    "world_knowledge",
    "world_relations",
]
