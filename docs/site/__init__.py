"""The site: the pages of docs/ and a reference made from the program, as HTML: python -m docs.site, or ./dev docs."""
