"""Header sections and encoded words, as `relay/mime` reads them."""
