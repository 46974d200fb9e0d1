"""From "this rule broke" to the first bad build or commit: the search, the questions it asks, what it leaves behind."""
