"""One module for each task; a task is named in `recipes.catalog`."""
