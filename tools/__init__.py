"""Tools worth having without any LM: calculator, knowledge base, household. Plain LangChain tools."""
