"""The library. It knows nothing of who calls it, nor how."""

TITLES = ["Ash", "Embers", "The Hearth", "The Last Ember"]


class Library:
    """Any object will do: its public methods are what others call."""

    def search(self, text, found):
        """Calls `found` with each title that has this text in it. Returns how many there were."""
        titles = [title for title in TITLES if text.lower() in title.lower()]
        for title in titles:
            found(title)
        return len(titles)
