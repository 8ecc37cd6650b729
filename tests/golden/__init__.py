"""What squashkit does, recorded: `runs` says with which command lines, `images` what they read, `record`
what is kept of each, and golden.json what that was. `python -m tests.golden` records anew."""
