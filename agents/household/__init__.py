"""Planning in a household: plans in toolkens, decoded, rehearsed and carried out."""
