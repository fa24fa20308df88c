"""Where traffic is: network namespaces and control groups, by the names of those who use them."""
