"""LangChain tools that need no LM: calculator, knowledge base and household."""
