"""What a person does about a workspace between runs: see what the next one would do, and clear what runs left."""
