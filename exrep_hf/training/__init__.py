"""The Hugging Face Trainer with a teacher: one step, saving, exact resume, several processes."""
