"""Results for people: folders, pictures."""
