-- One step of the budget, whole or not at all: what an instance has to tell is taken in, then, if it wants to, room for a
-- call is reserved. ledger.rs has the other end. Every part may be repeated without harm: sums only grow, to what they are
-- told to be; a call is reserved once and released once.
--
-- KEYS: 1 the mark that what stands here is whole; 2 open calls -> when they expire (ms); 3 open calls -> nano-USD, and
-- "sum"; 4 the day, 5 the month, and further days and months: field -> nano-USD, and "total" of the fields "real:…".
-- ARGV, in this order:
--   whole (1: set the mark), exchange (1: return every field)
--   number of calls to release, each: call
--   number of calls to reserve without asking, each: call, nano-USD, ms until it expires
--   for each key from 4 on: ms until it expires, number of fields, each: field, nano-USD
--   optionally: call, nano-USD, ms until it expires, limit of the day, limit of the month
-- Returns: whether the mark is there (1 or 0); what became of the call (0 nothing, for there is none or no mark; 1 reserved;
-- 2 the day has no room; 3 the month has no room); nano-USD reserved; totals of day and month; fields of each key from 4 on.
-- The server's clock is the one that all instances share.
local mark, open, amounts = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local taken = 0

local function take()
  taken = taken + 1
  return ARGV[taken]
end

local function whole_number(value)
  return string.format('%.0f', value)
end

local function stored(key, field)
  return tonumber(redis.call('HGET', key, field) or 0)
end

local function reserve(call, amount, lasts_ms)
  if redis.call('ZADD', open, 'NX', whole_number(now + lasts_ms), call) == 1 then
    redis.call('HSET', amounts, call, amount)
    redis.call('HINCRBY', amounts, 'sum', amount)
  end
end

local function release(call)
  if redis.call('ZREM', open, call) == 1 then
    redis.call('HINCRBY', amounts, 'sum', whole_number(-stored(amounts, call)))
    redis.call('HDEL', amounts, call)
  end
end

-- The two tell something together only. Without open calls the first is gone, and the second begins anew.
if redis.call('EXISTS', open, amounts) == 1 then
  redis.call('DEL', open, amounts)
end
for _, call in ipairs(redis.call('ZRANGEBYSCORE', open, '-inf', now)) do
  release(call)
end

local set_mark, exchange = take() == '1', take() == '1'
for _ = 1, take() do
  release(take())
end
for _ = 1, take() do
  local call, amount, lasts_ms = take(), take(), take()
  reserve(call, amount, lasts_ms)
end
for key = 4, #KEYS do
  local lasts_ms, fields, grown = take(), take(), false
  for _ = 1, fields do
    local field, amount = take(), take()
    local more = amount - stored(KEYS[key], field)
    if more > 0 then
      grown = true
      redis.call('HSET', KEYS[key], field, amount)
      if field:sub(1, 5) == 'real:' then
        redis.call('HINCRBY', KEYS[key], 'total', whole_number(more))
      end
    end
  end
  if grown then
    redis.call('PEXPIRE', KEYS[key], lasts_ms)
  end
end
if set_mark then
  redis.call('SET', mark, whole_number(now))
end

local is_whole = redis.call('EXISTS', mark)
local day, month, outcome = stored(KEYS[4], 'total'), stored(KEYS[5], 'total'), 0
local call = take()
if call and is_whole == 1 then
  local amount, lasts_ms, daily, monthly = take(), take(), tonumber(take()), tonumber(take())
  local wanted = stored(amounts, 'sum') + amount
  if redis.call('HEXISTS', amounts, call) == 1 then
    outcome = 1
  elseif month + wanted > monthly then
    outcome = 3
  elseif day + wanted > daily then
    outcome = 2
  else
    reserve(call, amount, lasts_ms)
    outcome = 1
  end
end

local fields = {}
if exchange then
  for key = 4, #KEYS do
    fields[#fields + 1] = redis.call('HGETALL', KEYS[key])
  end
end
return {is_whole, outcome, stored(amounts, 'sum'), day, month, fields}
