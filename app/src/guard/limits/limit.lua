-- Counts a request if there is room for it in the last minute. The rules are those of window.rs.
-- KEYS[1]: a hash, number of a slice -> requests in it. ARGV: limit, length of a slice in ms, slices that count.
-- Returns: allowed (1 or 0), requests that count, the oldest slice among them, the server's time in ms.
-- The server's clock is the one that all instances share.
local limit, length, slices = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local current = math.floor(now / length)
local used, oldest, over = 0, current, {}
local counts = redis.call('HGETALL', KEYS[1])
for i = 1, #counts, 2 do
  local number = tonumber(counts[i])
  if number + slices > current then
    used = used + counts[i + 1]
    oldest = math.min(oldest, number)
  else
    over[#over + 1] = counts[i]
  end
end
if #over > 0 then
  redis.call('HDEL', KEYS[1], unpack(over))
end
if used >= limit then
  return {0, used, oldest, now}
end
redis.call('HINCRBY', KEYS[1], current, 1)
redis.call('PEXPIRE', KEYS[1], length * slices)
return {1, used + 1, oldest, now}
