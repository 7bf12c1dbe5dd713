"""The compared methods: toolkens, published trainers, prompted baselines and a retriever."""
