"""Reports as Markdown, for comments on changes and for the summaries of pipelines."""
