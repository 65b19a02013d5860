"""What runs on the Redis server, so that nobody else's command comes in between.

A script is not rolled back by the server, and a right or the last byte of memory may be missing at
any command of it. So each runs under `pcall`, and what was done before a refused one is undone.
"""

COMMANDS = (
    *("eval", "get", "hdel", "hget", "hkeys", "hset", "pexpire", "publish", "set"),
    *("xadd", "xdel", "xtrim"),
)
"""The rights that a user of Redis needs, beside its keys and channels, PREFIX:*."""
EVIDENCE_COMMANDS = ("del", "zadd", "zrange", "zrem")
"""And for pictures of events; without them all else works."""
VISITING_COMMANDS = ("mget", "rpush", "xread")
"""And for live pictures and one-off questions; without them all else works."""

CONTROL_COMMANDS = ("hgetall", "xread")
"""And for commands at run time; without them all else works."""

PUBLISHED, PASSED_OVER, HELD, FENCED = 1, 0, -1, -2
SHELVED, TOO_LARGE = 1, 0
GRANTED, TAKEN, OTHER_VERSION = b"granted", b"taken", b"version"

# An owner is "WORKER RUN". It lives for as long as its heartbeat does, which has its run.
_LIVES = """
local function lives(owner, prefix)
  local worker, run = string.match(owner or '', '^(%S+) (%S*)$')
  if not worker then return false end
  local held = redis.pcall('GET', prefix .. worker)
  if type(held) ~= 'string' then return false end
  local is_read, beat = pcall(cjson.decode, held)
  return is_read and type(beat) == 'table' and (beat.run or '') == run
end
"""

# After the first refusal nothing more is tried.
_TRY = """
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
"""

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
#
# What the message brings for the next owner is written with it, but not over what a later record
# brought: a message that was refused for a while comes after ones that followed it. An older term
# is refused; one of nobody's group only while whoever had the camera by a group lives.
PUBLISH = (
    _LIVES
    + _TRY
    + """
local state, carry, stream = KEYS[1], KEYS[2], KEYS[3]
local cursor_field, origin, position, seq, after, term, late = unpack(ARGV, 1, 7)
local max_len, lives_ms, field, id, event, channel = unpack(ARGV, 8, 13)
local owner, owns, group, heartbeats, version, at, place = unpack(ARGV, 14, 20)
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
local last_owner = try('HGET', carry, 'owner')
local last_at = at ~= '' and try('HGET', carry, at)
if refusal then return refusal end
local newer = (tonumber(last_term) or 0) - tonumber(term)
if newer > 0 and (tonumber(term) > 0 or (last_owner ~= owner and lives(last_owner, heartbeats)))
then return -2 end
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
local fields = {}
local function set(name, value)
  if refusal then return end
  local old = try('HGET', carry, name)
  if refusal or (old or nil) == (value or nil) then return end
  if value and try('HSET', carry, name, value) or not value and try('HDEL', carry, name) then
    table.insert(fields, {name, old})
  end
end
set(cursor_field, now)
try('HDEL', state, cursor_field)
set('term', term)
if owns == '1' and (newer ~= 0 or not last_owner or tonumber(term) == 0) then
  set('owner', owner)
  set('group', group)
  set('generation', nil)
  if tonumber(term) > 0 then set('version', version) end
end
local log, offset, time_of_it = string.match(place, '^(%S+ %d+) (%d+) (%S+)$')
local last_log, last_offset, last_time = string.match(last_at or '', '^(%S+ %d+) (%d+) (%S+)$')
if not (log and log == last_log and tonumber(last_offset) > tonumber(offset)
    and last_time >= time_of_it) then
  for index = 21, #ARGV, 3 do set(ARGV[index], ARGV[index + 1] == '1' and ARGV[index + 2]) end
end
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
for index = #fields, 1, -1 do put_back(carry, unpack(fields[index])) end
return refusal
"""
)

# Makes a camera this worker's, and answers with all that is carried. Whoever has it and lives keeps
# it against an earlier generation of the group, and against another group. The term is the group's
# generation, but always more than the last one: a group that was deleted counts anew. A generation
# of 0 is only answered: who has none ends what is over, and owns nothing. Whoever has the camera by
# an address of its own takes nothing over, so what was left of it is theirs who left it.
TAKE = (
    _LIVES
    + """
local carry = KEYS[1]
local generation, owner, group, heartbeats, version, lives_ms = unpack(ARGV)
local found = {}
local names = redis.pcall('HKEYS', carry)
if type(names) == 'table' and names.err then return names end
for _, name in ipairs(names) do
  local value = redis.pcall('HGET', carry, name)
  if type(value) == 'table' and value.err then return value end
  found[name] = value
end
generation = tonumber(generation)
local term, last, others = tonumber(found.term) or 0, found.owner, found.group or ''
local theirs = found.version or ''
if theirs ~= '' and theirs ~= version then return {'version', theirs} end
local known = tonumber(found.generation) or term
local is_held = last and last ~= owner and lives(last, heartbeats)
if is_held and generation == 0 and others == '' then return {'granted', '0'} end
if is_held and (generation <= known or others ~= group) then return {'taken', last, others} end
if generation > 0 then
  if last ~= owner or generation ~= known then term = math.max(generation, term + 1) end
  local reply = redis.pcall('HSET', carry, 'term', string.format('%.0f', term), 'owner', owner,
    'group', group, 'version', version, 'generation', string.format('%.0f', generation))
  if type(reply) == 'table' and reply.err then return reply end
  redis.pcall('PEXPIRE', carry, lives_ms)
end
local answer = {'granted', string.format('%.0f', term)}
for name, value in pairs(found) do
  table.insert(answer, name)
  table.insert(answer, value)
end
return answer
"""
)

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
# somebody else's outbox has published of it since. How far a question was told goes too, where the
# camera is this worker's. Of one that is not, the worker gives up owning it, with an empty owner:
# nobody waits for it then, and whoever takes the camera knows that somebody had it.
SWEEP = """
local function read(...)
  local reply = redis.pcall(...)
  return reply, type(reply) == 'table' and reply.err
end
local origin, is_gone, owner, is_here, kept = ARGV[1], ARGV[2] == '1', ARGV[3], ARGV[4] == '1', {}
for index = 5, #ARGV do kept[ARGV[index]] = true end
local cursor, refused = read('HGET', KEYS[2], 'cursor:status')
if refused then return cursor end
local last_owner, refused = read('HGET', KEYS[2], 'owner')
if refused then return last_owner end
if not is_here and last_owner == owner then
  local reply, refused = read('HSET', KEYS[2], 'owner', '')
  if refused then return reply end
end
local by = string.match(cursor or '', '^(%S+)')
if is_gone and by and by ~= origin then return 0 end
local number = 0
for index, key in ipairs(KEYS) do
  local fields, refused = read('HKEYS', key)
  if refused then return fields end
  for _, field in ipairs(fields) do
    local kind, question = string.match(field, '^(%a+):(.+)$')
    if index == 2 and not (is_here and (kind == 'at' or kind == 'answered')) then question = nil end
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

# Puts a picture where it expires; those that expire next give way to it, and what has expired is
# struck off. ZADD comes first, for it is asked there whether there is memory; then DEL, so that
# whoever has not the right to it leaves nothing that could not be bounded. Answers 0 where the
# picture alone is too large.
EVIDENCE = (
    _TRY
    + """
local picture, index, sizes = unpack(KEYS)
local jpeg, keep_ms, max_bytes, now_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local total = tonumber(try('HGET', sizes, 'total') or 0) or 0
local function take_away(key)
  try('DEL', key)
  total = math.max(0, total - (tonumber(try('HGET', sizes, key) or 0) or 0))
  try('HDEL', sizes, key)
  try('ZREM', index, key)
end
try('ZADD', index, now_ms + keep_ms, picture)
take_away(picture)
total = total + #jpeg
while not refusal do
  local first = try('ZRANGE', index, 0, 0, 'WITHSCORES')
  if not first or not first[1] then break end
  if tonumber(first[2]) > now_ms and total <= max_bytes then break end
  take_away(first[1])
end
local is_too_large = total > max_bytes
if not is_too_large then
  try('HSET', sizes, picture, #jpeg)
  try('ZADD', index, now_ms + keep_ms, picture)
  try('SET', picture, jpeg, 'PX', keep_ms)
end
try('HSET', sizes, 'total', string.format('%.0f', is_too_large and total - #jpeg or total))
try('PEXPIRE', index, keep_ms)
try('PEXPIRE', sizes, keep_ms)
if refusal then
  redis.pcall('DEL', picture)
  redis.pcall('HDEL', sizes, picture)
  redis.pcall('ZREM', index, picture)
  return refusal
end
return is_too_large and 0 or 1
"""
)

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

# Ids of stream entries, `MILLISECONDS-NUMBER`, in their order.
_BEFORE = """
local function before(one, other)
  local a, b = string.match(tostring(one or ''), '^(%d+)%-(%d+)$')
  local c, d = string.match(tostring(other or ''), '^(%d+)%-(%d+)$')
  if not a or not c then return not a end
  a, b, c, d = tonumber(a), tonumber(b), tonumber(c), tonumber(d)
  return a < c or (a == c and b < d)
end
"""

# Keeps what a command has changed, or takes it away, unless a later one or the same, by another
# worker, has been there. Answers what is held in its stead then.
KEEP = f"""{_BEFORE}
local name, value, at, format = unpack(ARGV, 1, 4)
local held = redis.pcall('HGET', KEYS[1], name)
if type(held) == 'table' and held.err then return held end
local is_read, known = pcall(cjson.decode, held or '')
if is_read and type(known) == 'table' and not before(known.at, at) then return held end
local reply = redis.pcall('HSET', KEYS[1], 'format', format)
if type(reply) == 'table' and reply.err then return reply end
if value == '' then reply = redis.pcall('HDEL', KEYS[1], name)
else reply = redis.pcall('HSET', KEYS[1], name, value) end
if type(reply) == 'table' and reply.err then return reply end
return ''
"""

# Acknowledges a command, and notes that it was taken; with ARGV[5], one worker of all does.
ACKNOWLEDGE = f"""{_BEFORE}
local told, at, format, worker, lives_ms = unpack(ARGV, 1, 5)
local reply = true
if lives_ms ~= '' then reply = redis.pcall('SET', KEYS[3], worker, 'NX', 'PX', lives_ms) end
if type(reply) == 'table' and reply.err then return reply end
if reply then
  reply = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', '1000', '*', 'ack', told)
  if type(reply) == 'table' and reply.err then return reply end
end
local found = redis.pcall('HGET', KEYS[2], 'format')
if type(found) == 'table' and found.err then return found end
if found and found ~= format then return 1 end
if before(redis.pcall('HGET', KEYS[2], 'taken'), at) then
  found = redis.pcall('HSET', KEYS[2], 'taken', at)
  if type(found) == 'table' and found.err then return found end
end
return 1
"""
