"""What a study will take and what it could see, told before it runs."""
