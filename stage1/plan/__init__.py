"""What a study will take and what it could see, before it runs."""
