"""The full-screen view of a running shaper, `shaper top`: what it reads, how it says it, and the screen itself."""
