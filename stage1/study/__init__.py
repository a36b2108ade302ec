"""What a study runs and how its trials are judged. Knows neither Ray nor pages."""
