"""Words that copied values neither begin with, end with nor consist of."""


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


#: Words that are no value on their own.
FUNCTION_WORDS = words(
    """
    a an the this that these those my your our his her its their some any all every each another other i me we
    us you he him she it they them who whom whose which what when where why how and or but nor so then than if
    because while as of to for in on at by from with without into onto about over under up down off out is are
    was were be been being am do does did done have has had can could will would shall should may might must
    need needs want wants wanted like please pls plz thanks thank hi hello hey ok okay yes no not don't dont
    doesn't isn't can't let lets let's just now here there also too again still only very really quite maybe
    perhaps kindly i'd i'm i'll i've we'd we're we'll we've you're it's that's what's where's who's how's
    there's get got give gimme show tell make made put set go going take took bring find look see check know say
    said ask add new one ones something someone anything anyone thing things stuff least most closest nearest
    latest current best much many far long next last first late early never mind forget nothing nobody nope nah
    don cancel
    """
)
#: Words that no copied string begins with, and that none ends with.
NO_START = words(
    """
    a an the of to for in on at by from with into onto about and or but then than as is are was were be been
    please pls plz would could can will shall should do does did that which who when if because let lets let's
    also too me us it
    """
)
#: Prepositions that join two values rather than the words of one; "of" is none.
JOINTS = words(
    """
    to from in at for on with by into via near until till about under over between -> - /
    """
)
#: What follows an order's verb, as in "send the", "book me".
OBJECTS = words(
    """
    a an the my me our us this that these those all your him her it them some up
    """
)
NO_END = words(
    """
    a an the my your our his her its their of to for in on at by from with without into onto about and or but
    then than as is are was were be been please pls plz would could can will shall should do does did that which
    who when if because i let let's also i'd i'm not
    """
)
#: Pronouns begin a copied string only where it is a text, such as a message.
SPEAKERS = words(
    """
    i i'm i'd i'll i've we we're we'll you you're he she they this there what what's how where no not
    """
)
