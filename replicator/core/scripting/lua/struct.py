"""struct: binary formats, as the struct library for Lua documents them (http://www.inf.puc-rio.br/~roberto/struct/)."""

STRUCT = r"""
local host, engine = ...
local bad_argument, bad_type, int32 = engine.bad_argument, engine.bad_type, engine.int32
local byte, sub, char, rep = string.byte, string.sub, string.char, string.rep
local find, format, concat = string.find, string.format, table.concat
local floor, ceil = math.floor, math.ceil
local type, tostring, tonumber, select = type, tostring, tonumber, select
local error, pcall, unpack = error, pcall, unpack
local pack_float, unpack_float = engine.roomy(host.pack_float), host.unpack_float
local LARGEST_INTEGER, NATIVE_ALIGNMENT, INT_MAX = 32, 8, 2147483647
local SIZES = { b = 1, B = 1, h = 2, H = 2, l = 8, L = 8, T = 8, f = 4, d = 8, x = 1 }

-- An error inside is a table: what to say, and of which argument (nil: no argument error).
local function fail(text, argument)
  error({ text, argument }, 0)
end

local function report(problem, name)
  if type(problem) ~= 'table' or problem.err then error(problem, 0) end
  if problem[2] then error(format("bad argument #%d to '%s' (%s)", problem[2], name, problem[1]), 3) end
  error(problem[1], 3)
end

-- Reads a format from its begin: each call gives an option letter, its size, and moves on.
local function reader(form)
  local state = { at = 1, big = false, alignment = 1, name = '' }

  local function number(default)
    local from, to = find(form, '^%d+', state.at)
    if not from then return default end
    state.at = to + 1
    local value = tonumber(sub(form, from, to))
    if value > INT_MAX then fail('integral size overflow') end
    return value
  end

  function state.next()
    local option = sub(form, state.at, state.at)
    if option == '' then return nil end
    state.at = state.at + 1
    if option == 'i' or option == 'I' then
      local size = number(4)
      if size > LARGEST_INTEGER then
        fail(format('integral size %d is larger than limit of %d', size, LARGEST_INTEGER))
      end
      return option, size
    end
    if option == 'c' then return option, number(1) end
    if option == '>' then state.big = true
    elseif option == '<' then state.big = false
    elseif option == '!' then
      local alignment = number(NATIVE_ALIGNMENT)
      local power = 1
      while power < alignment do power = power * 2 end
      if alignment == 0 or power ~= alignment then fail(format('alignment %d is not a power of 2', alignment)) end
      state.alignment = alignment
    end
    return option, SIZES[option] or 0
  end

  function state.padding(option, size, length)
    if size == 0 or option == 'c' then return 0 end
    if size > state.alignment then size = state.alignment end
    -- for sizes that are no power of two: (size - (length & (size - 1))) & (size - 1), as the library has it
    local mask = size - 1
    local masked, bit, a, b = 0, 1, length, mask
    while b > 0 do
      if a % 2 == 1 and b % 2 == 1 then masked = masked + bit end
      a, b, bit = floor(a / 2), floor(b / 2), bit * 2
    end
    local result = 0
    a, b, bit = size - masked, mask, 1
    while b > 0 do
      if a % 2 == 1 and b % 2 == 1 then result = result + bit end
      a, b, bit = floor(a / 2), floor(b / 2), bit * 2
    end
    return result
  end

  return state
end

local CONTROL = { ['>'] = true, ['<'] = true, ['!'] = true, [' '] = true }

local function unknown(option)
  fail(format("invalid format option '%s'", option), 1)
end

-- packing -----------------------------------------------------------------------------------------------------------

local function number_argument(value, at)
  local number = tonumber(value)
  if number == nil or type(value) == 'boolean' then fail(format('number expected, got %s', type(value)), at) end
  return number
end

local function string_argument(value, at)
  if type(value) == 'number' then return tostring(value) end
  if type(value) ~= 'string' then fail(format('string expected, got %s', type(value)), at) end
  return value
end

local function integer_bytes(value, size, big)
  local high, low
  if value ~= value or value < -9223372036854775808 then
    high, low = 2147483648, 0
  elseif value >= 18446744073709551616 then
    high, low = 0, 0
  else
    value = value < 0 and ceil(value) or floor(value)
    low = value % 4294967296
    high = floor(value / 4294967296) % 4294967296
  end
  local bytes = {}
  for i = 1, size do
    local digit = 0
    if i <= 4 then
      digit = low % 256
      low = floor(low / 256)
    elseif i <= 8 then
      digit = high % 256
      high = floor(high / 256)
    end
    bytes[big and size - i + 1 or i] = char(digit)
  end
  return concat(bytes)
end

local function pack_all(form, values)
  local state = reader(form)
  local out, length, at = {}, 0, 1
  local function put(piece)
    out[#out + 1] = piece
    length = length + #piece
  end
  while true do
    local option, size = state.next()
    if option == nil then break end
    local padding = state.padding(option, size, length)
    if padding > 0 then put(rep('\0', padding)) end
    if option == 'x' then put('\0')
    elseif option == 'f' or option == 'd' then
      at = at + 1
      local number = number_argument(values[at - 1], at)
      if number == 0 and 1 / number < 0 then   -- its sign would be lost on the way to Python
        put(state.big and '\128' .. rep('\0', size - 1) or rep('\0', size - 1) .. '\128')
      else
        put(pack_float((state.big and '>' or '<') .. option, number))
      end
    elseif option == 'c' or option == 's' then
      at = at + 1
      local text = string_argument(values[at - 1], at)
      if option == 's' then put(text) put('\0')
      else
        if size == 0 then size = #text end
        if #text < size then fail('string too short', at + 1) end
        put(sub(text, 1, size))
      end
    elseif option == 'i' or option == 'I' or SIZES[option] then
      at = at + 1
      put(integer_bytes(number_argument(values[at - 1], at), size, state.big))
    elseif not CONTROL[option] then
      unknown(option)
    end
  end
  return concat(out)
end

local struct = {}

function struct.pack(...)
  local form = ...
  local count = select('#', ...)
  if type(form) == 'number' then form = tostring(form) end
  if type(form) ~= 'string' then bad_type(1, 'pack', 'string', count, form) end
  local ok, result = pcall(pack_all, form, { select(2, ...) })
  if not ok then report(result, 'pack') end
  return result
end

-- unpacking ---------------------------------------------------------------------------------------------------------

local function integer_value(data, from, size, big, signed)
  if size > 8 then
    if big then from = from + size - 8 end
    size = 8
  end
  local high, low = 0, 0
  for i = 1, size do   -- the most significant byte first
    local digit = byte(data, big and from + i - 1 or from + size - i)
    if i <= size - 4 then high = high * 256 + digit else low = low * 256 + digit end
  end
  if size == 0 then return 0 end
  if signed then
    if size > 4 then
      local range = 2 ^ (8 * (size - 4))
      if high >= range / 2 then high = high - range end
    else
      local range = 2 ^ (8 * size)
      if low >= range / 2 then low = low - range end
    end
  end
  return high * 4294967296 + low
end

local SIGNED = { b = true, h = true, l = true, i = true }

local function unpack_all(form, data, position)
  local state = reader(form)
  local values, count, length = {}, 0, #data
  while true do
    local option, size = state.next()
    if option == nil then break end
    position = position + state.padding(option, size, position)
    if size > length or position > length - size then fail('data string too short', 2) end
    if option == 'f' or option == 'd' then
      count = count + 1
      values[count] = unpack_float((state.big and '>' or '<') .. option, sub(data, position + 1, position + size))
    elseif option == 'c' then
      if size == 0 then
        local before = tonumber(values[count])
        if count == 0 or before == nil then fail("format 'c0' needs a previous size") end
        -- as a C size_t: the fraction is dropped, and 2^64 and more become 0
        if before ~= before then size = -1
        else size = before < 0 and ceil(before) or before >= 18446744073709551616 and 0 or floor(before) end
        count = count - 1
        if not (size >= 0 and size <= length and position <= length - size) then fail('data string too short', 2) end
      end
      count = count + 1
      values[count] = sub(data, position + 1, position + size)
    elseif option == 's' then
      local stop = find(data, '\0', position + 1, true)
      if not stop then fail('unfinished string in data') end
      count = count + 1
      values[count] = sub(data, position + 1, stop - 1)
      size = stop - position
    elseif option == 'i' or option == 'I' or (SIZES[option] and option ~= 'x') then
      count = count + 1
      values[count] = integer_value(data, position + 1, size, state.big, SIGNED[option])
    elseif option ~= 'x' and not CONTROL[option] then
      unknown(option)
    end
    position = position + size
  end
  count = count + 1
  values[count] = position + 1
  return values, count
end

function struct.unpack(...)
  local form, data, position = ...
  local count = select('#', ...)
  if type(form) == 'number' then form = tostring(form) end
  if type(form) ~= 'string' then bad_type(1, 'unpack', 'string', count, form) end
  if type(data) == 'number' then data = tostring(data) end
  if type(data) ~= 'string' then bad_type(2, 'unpack', 'string', count, data) end
  if position == nil then position = 1 end
  local start = tonumber(position)
  if start == nil then bad_type(3, 'unpack', 'number', count, position) end
  start = start ~= start and -1 or start < 0 and ceil(start) or floor(start)
  if start == 0 then bad_argument(3, 'unpack', 'offset must be 1 or greater') end
  if start < 0 then start = #data + 2 end
  local ok, values, found = pcall(unpack_all, form, data, start - 1)
  if not ok then report(values, 'unpack') end
  if found > 7000 then error('too many results to unpack', 2) end
  return unpack(values, 1, found)
end

-- sizes -------------------------------------------------------------------------------------------------------------

local function size_all(form)
  local state = reader(form)
  local length = 0
  while true do
    local option, size = state.next()
    if option == nil then break end
    if option == 's' then fail("option 's' has no fixed size", 1) end
    if option == 'c' and size == 0 then fail("option 'c0' has no fixed size", 1) end
    local known = SIZES[option] or CONTROL[option] or option == 'i' or option == 'I' or option == 'c'
    if not known and not find(option, '%w') then unknown(option) end   -- letters that mean nothing have no size
    length = length + state.padding(option, size, length) + size
  end
  return length
end

function struct.size(...)
  local form = ...
  local count = select('#', ...)
  if type(form) == 'number' then form = tostring(form) end
  if type(form) ~= 'string' then bad_type(1, 'size', 'string', count, form) end
  local ok, result = pcall(size_all, form)
  if not ok then report(result, 'size') end
  return result
end

return struct
"""
