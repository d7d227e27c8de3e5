"""The room `relay/rewrite`: octets in, plans out."""
