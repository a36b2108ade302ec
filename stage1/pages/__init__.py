"""Every report as data, its sections and figures; Markdown, HTML and the terminal."""
