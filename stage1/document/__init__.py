"""The report of a study as data, and what renders it: Markdown, a page, a terminal."""
