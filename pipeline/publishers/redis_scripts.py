"""What runs on the Redis server, so that nobody else's command comes in between.

A script is not rolled back by the server, and a right or the last byte of memory may be missing at
any command of it. So each runs under `pcall`, and what was done before a refused one is undone.
"""

COMMANDS = (
    *("eval", "get", "hdel", "hget", "hkeys", "hset", "pexpire", "publish", "set"),
    *("xadd", "xdel", "xtrim"),
)
"""The rights that a user of Redis needs, beside its keys and channels, PREFIX:*."""
VISITING_COMMANDS = ("mget", "rpush", "xread")
"""And for live pictures and one-off questions; without them all else works."""

PUBLISHED, PASSED_OVER, HELD, FENCED = 1, 0, -1, -2

# A cursor is "ORIGIN POSITION TOP": what was published last of that outbox, camera and kind, and
# the highest number among what was. A number below it comes late, after it was set aside: it may
# not take the place of something newer in the hash, nor an empty one, which a server restarted
# empty shows where there was something newer.
#
# The order of the commands is a matter of what can be undone. HSET comes first, because Redis asks
# whether there is memory only before the first write of a script. Then what an undoing needs is
# tried where it does nothing (HDEL, XDEL), so that a missing right is found before anything stands.
# XTRIM goes before XADD: a stream is trimmed of what was too much already, not for a message that
# is taken back. PUBLISH is last, because it cannot be taken back.
PUBLISH = """
local state, carry, stream = KEYS[1], KEYS[2], KEYS[3]
local cursor_field, origin, position, seq, after, term, late = unpack(ARGV, 1, 7)
local max_len, lives_ms, field, id, event, channel = unpack(ARGV, 8, 13)
local refusal
local function try(...)
  if refusal then return false end
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    refusal = reply
    return false
  end
  return reply
end
local function put_back(key, name, value)
  local reply = value or redis.pcall('HDEL', key, name)
  if value or (type(reply) == 'table' and reply.err) then
    redis.pcall('HSET', key, name, value or '')
  end
end

local cursor = try('HGET', carry, cursor_field)
local last_term = try('HGET', carry, 'term')
local earlier = try('HGET', state, cursor_field)
local shown = try('HGET', state, field)
if refusal then return refusal end
cursor = cursor or earlier
if (tonumber(last_term) or 0) > tonumber(term) then return -2 end
local by, reached, top = string.match(cursor or '', '^(%S+) (%d+) ?(%d*)$')
reached = by == origin and tonumber(reached) or 0
top = by == origin and (tonumber(top) or reached % 4294967296) or 0
if reached >= tonumber(position) then return 0 end
if reached < tonumber(after) then return -1 end
local is_late = late == '1' or tonumber(seq) <= top
local time = '"time":"([^"]+)"'
local is_newest = not is_late
  or (shown and (string.match(shown, time) or '') <= (string.match(event, time) or ''))
seq = string.format('%.0f', math.max(top, tonumber(seq)))

local now = origin .. ' ' .. position .. ' ' .. seq
if not try('HSET', carry, cursor_field, now, 'term', term) then return refusal end
try('HDEL', state, cursor_field)
try('XTRIM', stream, 'MAXLEN', '~', max_len)
try('XDEL', stream, '0-0')
local is_set = is_newest and try('HSET', state, field, event)
local entry = try('XADD', stream, '*', 'event', event, 'id', id)
try('PEXPIRE', carry, lives_ms)
try('PEXPIRE', state, lives_ms)
try('PEXPIRE', stream, lives_ms)
try('PUBLISH', channel, event)
if not refusal then return 1 end

if entry then redis.pcall('XDEL', stream, entry) end
if is_set then put_back(state, field, shown) end
put_back(carry, 'term', last_term)
put_back(carry, cursor_field, cursor)
return refusal
"""

# Answers 1, or 0 where another run has the name. A heartbeat without a run is of a version before.
CLAIM = """
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'table' and held.err then return held end
local is_read, beat = pcall(cjson.decode, held or '{}')
if is_read and type(beat) == 'table' and beat.run and beat.run ~= ARGV[1] then return 0 end
local reply = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if type(reply) == 'table' and reply.err then return reply end
return 1
"""

# Takes away what is told of questions that are gone; of a camera that is gone, everything, unless
# somebody else's outbox has published of it since.
SWEEP = """
local function read(...)
  local reply = redis.pcall(...)
  return reply, type(reply) == 'table' and reply.err
end
local origin, is_gone, kept = ARGV[1], ARGV[2] == '1', {}
for index = 3, #ARGV do kept[ARGV[index]] = true end
local cursor, refused = read('HGET', KEYS[2], 'cursor:status')
if refused then return cursor end
local by = string.match(cursor or '', '^(%S+)')
if is_gone and by and by ~= origin then return 0 end
local number = 0
for index, key in ipairs(KEYS) do
  local fields, refused = read('HKEYS', key)
  if refused then return fields end
  for _, field in ipairs(fields) do
    local question = index == 1 and string.match(field, '^%a+:(.+)$')
    if is_gone or (question and not kept[question] and not string.match(field, '^cursor:')) then
      local reply, refused = read('HDEL', key, field)
      if refused then return reply end
      number = number + 1
    end
  end
end
return number
"""

# A camera's entry in the register belongs to the worker that it names, while that one lives: nobody
# else changes it or takes it away, but whoever has the camera by a later term. Answers whether the
# entry is now what it should be; ARGV[3] is empty where it should be none.
_OWNED = """
local camera, me, now, term, heartbeats = unpack(ARGV, 1, 5)
local shown = redis.pcall('HGET', KEYS[1], camera)
if type(shown) == 'table' and shown.err then return shown end
local is_read, entry = pcall(cjson.decode, shown or '')
if is_read and type(entry) == 'table' and entry.owner ~= me
    and (tonumber(entry.term) or 0) >= tonumber(term) then
  local lives = redis.pcall('GET', heartbeats .. tostring(entry.owner))
  if type(lives) == 'table' and lives.err then return lives end
  if lives then return 0 end
end
"""
ENTER = f"""{_OWNED}
local reply = redis.pcall('HSET', KEYS[1], camera, now)
if type(reply) == 'table' and reply.err then return reply end
reply = redis.pcall('PEXPIRE', KEYS[1], ARGV[6])
if type(reply) == 'table' and reply.err then return reply end
return 1
"""
LEAVE = f"""{_OWNED}
local reply = redis.pcall('HDEL', KEYS[1], camera)
if type(reply) == 'table' and reply.err then return reply end
return 1
"""

# A picture that would not expire is none: it is taken back where that right is missing.
PICTURE = """
local reply = redis.pcall('HSET', KEYS[1], unpack(ARGV, 2))
if type(reply) == 'table' and reply.err then return reply end
reply = redis.pcall('PEXPIRE', KEYS[1], ARGV[1])
if type(reply) == 'table' and reply.err then
  redis.pcall('HDEL', KEYS[1], 'jpeg', 'captured_at', 'grid', 'sent')
  return reply
end
return 1
"""

# Of all workers that would reply to an ask, the first one does. Answers 0 to the others.
REPLY = """
local reply = redis.pcall('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[3])
if not reply then return 0 end
if type(reply) == 'table' and reply.err then return reply end
for _, command in ipairs({{'RPUSH', KEYS[1], ARGV[2]}, {'PEXPIRE', KEYS[1], ARGV[3]}}) do
  reply = redis.pcall(unpack(command))
  if type(reply) == 'table' and reply.err then return reply end
end
return 1
"""
