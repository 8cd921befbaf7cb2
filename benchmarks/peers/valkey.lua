-- Decides one operation.  KEYS[1] is a resource: a sorted set of what is taken, by start, each
-- "uid:end".  Until when a hold lives stands under its uid in a hash beside it; a booking has none.
local verb, uid, start, now = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local holds = KEYS[1] .. ':until'

if verb == 'reserve' then
  local finish = ARGV[5]
  while true do
    -- Nothing that is live overlaps, so the last one that begins before the end tells.
    local last = server.call('ZREVRANGEBYSCORE', KEYS[1], '(' .. finish, '-inf', 'LIMIT', 0, 1)[1]
    if not last then break end
    local other, its_end = string.match(last, '([^:]+):(%d+)')
    if tonumber(its_end) <= start then break end
    local its_until = server.call('HGET', holds, other)
    if not its_until or tonumber(its_until) > now then return 0 end
    server.call('ZREM', KEYS[1], last)
    server.call('HDEL', holds, other)
  end
  server.call('ZADD', KEYS[1], start, uid .. ':' .. finish)
  server.call('HSET', holds, uid, ARGV[6])
  return 1
end

local its_until = server.call('HGET', holds, uid)
if not its_until or tonumber(its_until) <= now then return 0 end
server.call('HDEL', holds, uid)
if verb == 'release' then
  server.call('ZREMRANGEBYSCORE', KEYS[1], start, start)
end
return 1
