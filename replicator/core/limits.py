"""Every bound on what a peer can make a node keep, each with its reason."""

from __future__ import annotations

# A request's argument count: stock's own bound (a signed 32-bit count).
MAX_ARGUMENTS = 2**31 - 1
# Arguments that the fast decoder lets through without looking: more of them take the careful decoder, which never
# reserves memory for arguments that have not come.
FAST_ARGUMENTS_DIGITS = 5
# One argument: stock's default of proto-max-bulk-len (512 MiB); the configuration may change it.
MAX_BULK = 512 * 1024 * 1024
# A manifest of an append-only file: two lines, a few more in a rewrite. One that is larger is something else.
MAX_MANIFEST_BYTES = 1024 * 1024
# One of its lines, and a comment between commands: stock's own bound.
MAX_MANIFEST_LINE = 1024
# One argument in an append-only file, or in the stream of our primary: proto-max-bulk-len could be raised when it was
# written. More is a damaged length.
MAX_AOF_BULK = 2**32
# An inline command, or the length line of a request: longer lines without an end are no protocol.
MAX_INLINE = 64 * 1024
# What a primary's stream may keep open on its replica: a transaction without its EXEC, or half a command. Stock has no
# bound; ours is what a client of the primary may send in one request (stock's client-query-buffer-limit). What a script
# changes may be more: then the data comes by a full synchronization.
MAX_UNAPPLIED = 1024 * 1024 * 1024
# What an argument of such a transaction costs beside its bytes.
ARGUMENT_WEIGHT = 64
# A payload that is loaded as it comes has no length that must be believed. When the process holds so large a share (in
# percent) of the memory it may have, the load is given up before the system ends the process, old data and all.
MAX_LOAD_PERCENT = 90
# Before a client has authenticated it may only speak small requests.
UNAUTHENTICATED_ARGUMENTS = 10
UNAUTHENTICATED_BULK = 16 * 1024
# Replies that wait for a client that has not authenticated: beyond what the system takes for it, it costs us no more
# than this. An honest client has one or two refusals waiting (some 30 bytes each).
UNAUTHENTICATED_OUTPUT = 16 * 1024
# Sources of failed logins that are counted, for one line in the log a minute and source.
MAX_FAILED_LOGIN_SOURCES = 1024
# A payload of a primary on its way to a file: no node of ours could load more, whatever the primary announces or never
# ends (it may have an end mark in place of a length). And what is left free of the disk in any case.
MAX_PAYLOAD = 1 << 40
DISK_RESERVE = 64 * 1024 * 1024
# After so many bytes of a payload the free space is looked at again.
DISK_LOOK_BYTES = 16 * 1024 * 1024
# The decoder of requests takes a read in turns, with hiredis where that is safe and byte by byte where it is not. Each
# change copies what is left. When so many times the read has been copied, the rest of it is decoded byte by byte.
DECODER_COPIES = 4
# One block of the replication window.
WINDOW_BLOCK = 64 * 1024
# How much of the window a driver takes in one pull for one replica.
PULL_BYTES = 128 * 1024
# Different spellings of command names remembered for the fast look-up (GET, get, Get ...).
MAX_SPELLINGS = 4096
# Members that SRANDMEMBER, HRANDFIELD and ZRANDMEMBER repeat for one negative count inside MULTI or a script: there the
# reply is made in one turn and in memory, however small the collection, so this is what others wait for: a second.
MAX_RANDOM_MEMBERS = 1 << 20
# Elsewhere a longer reply is made in parts of so many members or bytes, whichever come first: a few milliseconds' work.
PART_MEMBERS = 8192
PART_BYTES = 128 * 1024
# No further part is made for a client while more than this of its output waits in the driver.
PARTS_AHEAD_BYTES = 256 * 1024
# Clients that are looked at in one turn for whether a part can be made for them.
PARTS_LOOKED_AT = 64
# Output that waits in the driver for one connection before its requests are left unread: a client that never reads its
# replies stops being served here. Large, because client libraries write a whole pipeline before they read any of its
# replies.
OUTPUT_HELD_BYTES = 64 * 1024 * 1024
# So many commands of one read are run before their replies are weighed: one read may ask for far more than fits in
# memory.
WEIGHED_COMMANDS = 64
# A client with more output than it may have goes on when it has taken some; until then it is looked at so often.
OUTPUT_RETRY_MS = 5
# Messages for one client are weighed against its limit each time that so many bytes of them have come together.
WEIGHED_BYTES = 1024 * 1024
# A connection that is closed after its output has gone out, and whose peer takes nothing of it for so long, is dropped.
CLOSE_FLUSH_MS = 10_000
# All that scripts hold in their interpreter: an allocation beyond it fails inside the script ("not enough memory").
# Room for a value of MAX_BULK and the copies that a script makes of it.
MAX_SCRIPT_MEMORY = 1024 * 1024 * 1024
# Different errors of its commands that a running script is known to have seen; further ones are counted twice in INFO.
SCRIPT_ERRORS = 64
# Scripts remembered because EVAL ran them (those of SCRIPT LOAD stay): the oldest go first.
MAX_EVAL_SCRIPTS = 10_000
# Repetitions (* + - ?) in a pattern of string.find and its like. Each may take a level of C's stack, about 60 bytes,
# which Lua 5.1 does not count: some 130,000 of them end the process, in stock as well. No pattern that means something
# comes near ours.
MAX_PATTERN_ITEMS = 10_000
# An answer to a question that we asked another server (a Sentinel's INFO, the longest, takes some kilobytes): whoever
# sends more is no server that we asked.
MAX_ANSWER = 4 * 1024 * 1024
# How deep it may nest.
MAX_ANSWER_DEPTH = 9
# And the items of one list in it: it is decoded anew with each read until it is whole.
MAX_ANSWER_ITEMS = 1024
# Questions to one monitored instance (times those who share its link) that wait for their answers; behind them no more
# are asked, as in stock Sentinels.
MAX_SENTINEL_ASKS = 100
# Scripts of a Sentinel that wait to be run, and that run at once; stock's bounds. The oldest that waits goes first.
MAX_SENTINEL_SCRIPTS = 256
MAX_SENTINEL_RUNNING_SCRIPTS = 16
# Replicas and Sentinels that a Sentinel remembers of one primary: they come from INFO and from a channel on which
# anybody may publish. Stock has no bound; ours is far above what one primary can feed.
MAX_SENTINEL_KNOWN = 1000
# Hello messages that a Sentinel knows by heart: one of each Sentinel and primary, until their words change.
MAX_SENTINEL_HELLOS = 10_000
# A request to a Sentinel that is not whole yet: SENTINEL SET with all its options takes far less.
MAX_SENTINEL_REQUEST = 1024 * 1024
# A TLS handshake that takes longer is cut: a peer that connects and says nothing must not keep a descriptor.
TLS_HANDSHAKE_MS = 10_000
# Connections in their handshake at once (some 60 KiB each once they have spoken). Beyond it the oldest goes, if it has
# had time enough for any honest peer, and else the listener waits.
TLS_HANDSHAKES = 512
TLS_HANDSHAKE_ENOUGH_MS = 1_000
# Steps of handshakes in one turn (about 1 ms each when a signature is due): a flood of them must leave clients room.
TLS_STEPS = 8
# What a peer may make TLS itself answer (new keys) without reading any of it.
TLS_UNREAD_BYTES = 64 * 1024
# A message of the cluster bus from somebody of whom we do not know yet that he belongs to the cluster: a header with
# gossip about some ten thousand nodes. A member may publish whatever its clients may send.
MAX_BUS_MESSAGE = 1024 * 1024
# And from a member: what a client may have sent to it in one request.
MAX_MEMBER_MESSAGE = 1024 * 1024 * 1024
# Bus connections from others that are not known to be members: more of them than this at a time are turned away.
MAX_BUS_STRANGERS = 256
# Nodes of a cluster that gossip may introduce; the public specification recommends up to a thousand.
MAX_CLUSTER_NODES = 4096
