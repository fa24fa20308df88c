"""The profiles that come with shaper, as package data; see `shaper.profile`."""
