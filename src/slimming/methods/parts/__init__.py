"""What some methods are made of, and only they need: it loads torch, which looking for methods does not."""
