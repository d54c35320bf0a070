-- Tokens per minute of each client, paid for afterwards: a request is let in while its client's bucket holds what the request itself may
-- take, a quarter of its bytes, and its answer is charged when its tokens are known. Then the bucket may be below zero, and the client waits.
-- A stream is charged by its bytes while it passes, so that one that is cut costs what was sent of it. Each worker thread has buckets of
-- its own: SHARE and SHARES, which stand above, are a thread's part of the limit.
local ceil, floor, max, min = math.ceil, math.floor, math.max, math.min
local BYTES_PER_TOKEN, EVENT_BYTES_PER_TOKEN = 4, 200  -- English prose in JSON; one streamed token is an event of 190 to 220 bytes
local MANY = 10000  -- buckets, above which full ones are forgotten: a new one is full, too
local buckets, count = {}, 0

local function fill(b, now)
  b.level = min(b.room, b.level + max(0, now - b.at) * b.room / 60)
  b.at = now
  return b
end

local function forget_full(now)
  for client, b in pairs(buckets) do
    if fill(b, now).level >= b.room then
      buckets[client] = nil
      count = count - 1
    end
  end
end

local function bucket_of(client, now)
  local room = SHARES[client] or SHARE
  if not client or not room then return end
  local b = buckets[client]
  if not b then
    if count >= MANY then forget_full(now) end
    b = { room = room, level = room, at = now }
    buckets[client] = b
    count = count + 1
  end
  return fill(b, now)
end

local function now_s(h) return h:timestamp(EnvoyTimestampResolution.MILLISECOND) / 1000 end

local function told(b)
  return {
    ["x-ratelimit-limit-tokens"] = tostring(b.room),
    ["x-ratelimit-remaining-tokens"] = tostring(max(0, floor(b.level))),
    ["x-ratelimit-reset-tokens"] = tostring(ceil((b.room - b.level) * 60 / b.room)),
  }
end

local function client_of(h)
  local access = h:streamInfo():dynamicMetadata():get("access")
  return access and access.client_hash
end

function envoy_on_request(h)
  local headers = h:headers()
  if headers:get(":method") ~= "POST" then return end
  local b = bucket_of(client_of(h), now_s(h))
  if not b then return end
  -- All of it has come, and the filter that has read it says how long it is where its client did not. What is asked and taken at different
  -- times would let in any number of requests whose bodies come together.
  local own = ceil((tonumber(headers:get("content-length") or "") or 0) / BYTES_PER_TOKEN)
  local needed = min(max(1, own), b.room)  -- more than it ever holds is let in when it is full, and owed
  if b.level < needed then
    local refusal = told(b)
    refusal[":status"], refusal["retry-after"] = "429", tostring(ceil((needed - b.level) * 60 / b.room))
    return h:respond(refusal, "")
  end
  b.level = b.level - own
  h:streamInfo():dynamicMetadata():set("tokens", "charged", own)
end

-- Sets a charge right by what the backend has reported; returns whether it has.
local function settled(h, b, charged)
  local input, output = told_usage(h:streamInfo():dynamicMetadata():get("usage"))
  if not input then return false end
  b.level = min(b.room, b.level + charged - input - output)
  return true
end

function envoy_on_response(h)
  local mine = h:streamInfo():dynamicMetadata():get("tokens")
  if not mine then return end
  local headers, charged = h:headers(), mine.charged
  local b = bucket_of(client_of(h), now_s(h))
  local failed = (tonumber(headers:get(":status")) or 0) >= 300
  if failed then b.level = min(b.room, b.level + charged) end
  local done = failed or settled(h, b, charged)  -- a plain answer's headers come after its body was read
  for name, value in pairs(told(b)) do headers:replace(name, value) end
  if done then return end
  local events = string.find(headers:get("content-type") or "", "event-stream", 1, true)
  local bytes_per_token = events and EVENT_BYTES_PER_TOKEN or BYTES_PER_TOKEN
  for chunk in h:bodyChunks() do
    local sent = chunk:length() / bytes_per_token
    b.level, charged = b.level - sent, charged + sent
  end
  settled(h, b, charged)
end
