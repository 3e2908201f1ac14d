"""Named training recipes: data and settings with which anyone can train the networks again."""
