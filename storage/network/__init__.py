"""Pictures of other people's servers: the one room that speaks to a network.

`crawl.crawl` fetches many URLs; below it lie one URL (`fetch`), whose turn it is (`turns`), what a host allows
(`robots`), and which addresses may be reached at all (`addresses`, `transport`). The contract: no connection is made to
an address that is not public, whatever a URL, a redirect or a name server says; nothing is read beyond the caps, in
bytes and in time; and every URL comes to an end with a reason.
"""

from storage.extras import need

need("crawl", "httpx", "httpcore", "protego", "tenacity")
