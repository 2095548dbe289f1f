"""Lua, second part of the sandbox: RESP replies to Lua values and back.

Source: https://redis.io/docs/latest/develop/interact/programmability/lua-api/#data-type-conversion
"""

REPLIES = r"""-- RESP to Lua -----------------------------------------------------------------------------------------

local parse, _

local function parse_line(data, at)
  local stop = find(data, '\r', at, true)
  return sub(data, at + 1, stop - 1), stop + 2
end

local function parse_items(data, at, count)
  local items, value = {}
  for i = 1, count do
    value, at = parse(data, at)
    items[i] = value
  end
  return items, at
end

function parse(data, at)
  local kind = byte(data, at)
  local text, behind = parse_line(data, at)
  if kind == 36 then                                -- $
    local length = tonumber(text)
    if length < 0 then return false, behind end
    return sub(data, behind, behind + length - 1), behind + length + 2
  elseif kind == 58 then return tonumber(text), behind    -- :
  elseif kind == 43 then return { ok = text }, behind     -- +
  elseif kind == 45 then return { err = text }, behind    -- -
  elseif kind == 42 then                            -- *
    local count = tonumber(text)
    if count < 0 then return false, behind end
    return parse_items(data, behind, count)
  elseif kind == 95 then return nil, behind               -- _
  elseif kind == 35 then return text == 't', behind       -- #
  elseif kind == 44 then                            -- ,
    local value = tonumber(text)
    if value == nil then value = host.float(text) end
    return { double = value }, behind
  elseif kind == 37 then                            -- %
    local map, key, value = {}
    for _ = 1, tonumber(text) do
      key, behind = parse(data, behind)
      value, behind = parse(data, behind)
      if key ~= nil then map[key] = value end
    end
    return { map = map }, behind
  elseif kind == 126 then                           -- ~
    local set, key = {}
    for _ = 1, tonumber(text) do
      key, behind = parse(data, behind)
      if key ~= nil then set[key] = true end
    end
    return { set = set }, behind
  elseif kind == 61 then                            -- =
    local length = tonumber(text)
    local content = sub(data, behind + 4, behind + length - 1)
    return { verbatim_string = { format = sub(data, behind, behind + 2), string = content } }, behind + length + 2
  elseif kind == 40 then return { big_number = text }, behind   -- (
  elseif kind == 62 then                            -- >: of a push scripts see nothing
    _, behind = parse_items(data, behind, tonumber(text))
    return nil, behind
  elseif kind == 124 then                           -- |: nor of attributes
    _, behind = parse_items(data, behind, 2 * tonumber(text))
    return parse(data, behind)
  end
  error('unknown reply type', 0)
end

-- Lua to RESP -------------------------------------------------------------------------------------------------------

local resp3_client, resp3_script = false, false
local NULL = '$-1\r\n'
local SLOTS = 7995   -- of stock's Lua stack: an array takes one a level, a map three

-- What stock prints as a C string ends at its first NUL.
local function c_string(text)
  local stop = find(text, '%z')
  return stop and sub(text, 1, stop - 1) or text
end

local function error_text(text)
  return (gsub(c_string(text), '[\r\n]+$', ''))
end

local function one_line(text)
  if find(text, '[\r\n]') then return (gsub(text, '[\r\n]', ' ')) end
  return text
end

local encode

local function encode_pairs(map, out, slots, as_set)
  local items, count = {}, 0
  for key, value in rawnext, real_of[map] or map do
    encode(key, items, slots - 3)
    if not as_set then encode(value, items, slots - 3) end
    count = count + 1
  end
  local head
  if as_set then
    head = format(resp3_client and '~%d\r\n' or '*%d\r\n', count)
  elseif resp3_client then
    head = format('%%%d\r\n', count)
  else
    head = format('*%d\r\n', 2 * count)
  end
  out[#out + 1] = head
  out[#out + 1] = concat(items)
end

local function encode_table(t, out, slots)
  t = real_of[t] or t
  local field = rawget(t, 'err')
  if type(field) == 'string' then out[#out + 1] = '-' .. one_line(error_text(field)) .. '\r\n' return end
  field = rawget(t, 'ok')
  if type(field) == 'string' then out[#out + 1] = '+' .. one_line(c_string(field)) .. '\r\n' return end
  field = rawget(t, 'double')
  if type(field) == 'number' then
    local text = format('%.17g', field)
    out[#out + 1] = resp3_client and ',' .. text .. '\r\n' or format('$%d\r\n', #text) .. text .. '\r\n'
    return
  end
  field = rawget(t, 'big_number')
  if type(field) == 'string' then
    local text = one_line(field)
    out[#out + 1] = resp3_client and '(' .. text .. '\r\n' or format('$%d\r\n', #text) .. text .. '\r\n'
    return
  end
  field = rawget(t, 'verbatim_string')
  if type(field) == 'table' then
    local text, kind = rawget(field, 'string'), rawget(field, 'format')
    if type(text) == 'string' and type(kind) == 'string' then
      if resp3_client then
        out[#out + 1] = format('=%d\r\n', #text + 4) .. sub(c_string(kind) .. '   ', 1, 3) .. ':' .. text .. '\r\n'
      else
        out[#out + 1] = format('$%d\r\n', #text) .. text .. '\r\n'
      end
      return
    end
  end
  field = rawget(t, 'map')
  if type(field) == 'table' then return encode_pairs(field, out, slots, false) end
  field = rawget(t, 'set')
  if type(field) == 'table' then return encode_pairs(field, out, slots, true) end
  local at = #out + 1
  out[at] = false
  local count = 0
  while true do
    local value = rawget(t, count + 1)
    if value == nil then break end
    encode(value, out, slots - 1)
    count = count + 1
  end
  out[at] = format('*%d\r\n', count)
end

function encode(value, out, slots)
  local kind = type(value)
  if slots <= 0 then
    out[#out + 1] = '-ERR reached lua stack limit\r\n'
  elseif kind == 'string' then
    out[#out + 1] = format('$%d\r\n', #value) .. value .. '\r\n'
  elseif kind == 'number' then
    out[#out + 1] = format(':%d\r\n', value)
  elseif kind == 'table' then
    encode_table(value, out, slots)
  elseif kind == 'boolean' then
    if resp3_script then
      if resp3_client then out[#out + 1] = value and '#t\r\n' or '#f\r\n'
      else out[#out + 1] = value and ':1\r\n' or ':0\r\n' end
    else
      out[#out + 1] = value and ':1\r\n' or NULL
    end
  else
    out[#out + 1] = NULL
  end
end

local function reply_of(value)
  local kind = type(value)
  if kind == 'number' then return format(':%d\r\n', value) end
  if kind == 'string' then return format('$%d\r\n', #value) .. value .. '\r\n' end
  if kind == 'nil' then return NULL end
  local out = {}
  encode(value, out, SLOTS)
  return concat(out)
end

"""
