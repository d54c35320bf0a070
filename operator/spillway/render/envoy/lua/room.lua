-- Refusals before own replicas that may wait (gateway.hold): takes the mark off those that there is no room for. MOST_BYTES, LOW_REQUESTS
-- and LOW_BYTES, which stand above, are this thread's part of the limits; nil: none. Nobody says when a client that waits has left. So a
-- request is counted from a refusal until it asks again, which it does within a second, and forgotten when it does not.
local LONGEST_SILENCE_S = 3  -- a second until it asks, half of one for a replica that cannot be reached, and as much again
local count, bytes = 0, 0
local young, old, turned_at = {}, {}, 0  -- by ticket the bytes of what waits: refused in this period, in the one before

local function forget(waiting)
  for _, size in pairs(waiting) do count, bytes = count - 1, bytes - size end
end

local function turn_page(now_s)
  if now_s - turned_at < LONGEST_SILENCE_S and now_s >= turned_at then return end
  forget(old)
  if now_s - turned_at >= 2 * LONGEST_SILENCE_S then
    forget(young)
    young = {}
  end
  old, young, turned_at = young, {}, now_s
end

-- Takes a request that asks again out of those that wait; whether it did.
local function take_out(ticket)
  local size = young[ticket] or old[ticket]
  if not size then return false end
  young[ticket], old[ticket] = nil, nil
  count, bytes = count - 1, bytes - size
  return true
end

local function exceeded(size, most_bytes) return most_bytes and count > 0 and bytes + size > most_bytes end

-- Why a request may not wait, or nil. What has waited has lost something: only what gave way by its own header is turned away then.
local function no_room(mine)
  if mine.low and LOW_REQUESTS and (count >= LOW_REQUESTS or exceeded(mine.bytes, LOW_BYTES)) then return "priority" end
  if not mine.waited and exceeded(mine.bytes, MOST_BYTES) then return "bytes" end
end

function envoy_on_request(h)
  local headers = h:headers()
  local ticket = headers:get("x-spillway-ticket")
  if not ticket then return end
  local low = string.lower(headers:get("x-spillway-priority") or "") == "low"
  local mine = { ticket = ticket, bytes = tonumber(headers:get("content-length") or "") or 0, waited = take_out(ticket), low = low }
  h:streamInfo():dynamicMetadata():set("room", "mine", mine)
end

function envoy_on_response(h)
  local headers = h:headers()
  if not headers:get("x-spillway-may-wait") then return end
  local meta = h:streamInfo():dynamicMetadata()
  local room = meta:get("room")
  if not room then return end
  local mine = room.mine
  turn_page(h:timestamp(EnvoyTimestampResolution.MILLISECOND) / 1000)
  local why = no_room(mine)
  if why then
    headers:remove("x-spillway-may-wait")
    meta:set("room", "turned_away", why)
    return
  end
  young[mine.ticket] = mine.bytes
  count, bytes = count + 1, bytes + mine.bytes
end
